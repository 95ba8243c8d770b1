/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration: the model (what is configured), the transaction that changes it, and what one kind of object must
 * tell. Control thread only.
 *
 * A transaction changes the model in place and keeps a journal, so its cost is that of its changes and not of the
 * model:
 *  stage 1  every command is parsed and entered; then all changed objects are checked against the whole result
 *           (references, double addresses, capacities); new ports are opened, the only resource that fails for outside
 *           reasons. Any failure takes everything back and reports one sentence.
 *  stage 2  the net changes go to the tables, deletions first, in dependency order; policy_commit once; then the hooks of
 *           main.c. If a table refuses after all, what was applied is reversed, too. */
#pragma once

#include "cli/grammar.h"
#include "fwd/port/port.h"
#include "tables/endpoint.h"
#include "tables/nat.h"
#include "tables/tunnel.h"

enum { CONFIG_KEY_MAX = 256 };

struct config_object {
	const struct config_kind *kind;
	struct config_object *prev, *next; /* of its kind, in the order they came */
	struct config_object *chain;       /* same hash bucket */
	uint32_t hash;
	uint32_t line; /* of the file or batch it came from */
	char *key;     /* words behind add and del: "endpoint 10"; unique over all kinds */
	_Alignas(16) uint8_t data[];
};

/* Calls back for each string an object occupies or needs. */
typedef void config_word_fn(void *arg, const char *word);

/* One kind of object, owned by a cmd_*.c file. 'data' is its parsed struct, zeroed before the first parse. */
struct config_kind {
	const char *name;    /* "endpoint": first words of the key */
	const char *key;     /* pattern of the key: "endpoint ID" */
	const char *options; /* pattern of what follows in add and set, "" = nothing */
	const char *help;
	size_t size;
	/* Arguments of one command into 'data'. Options that are absent keep their value (for set). */
	int (*parse)(const struct parse *p, void *data, struct err *e);
	void (*print_key)(const void *data, FILE *f);
	void (*print_options)(const void *data, FILE *f); /* " device lxc10 identity 7"; may be NULL */
	/* set and del may name fewer words than the key has: completes 'data'; may be NULL */
	int (*find)(const struct config_tx *tx, void *data, struct err *e);
	/* Strings that no two objects may share, of any kind: "address 10.1.0.10"; may be NULL */
	void (*occupies)(const void *data, config_word_fn *fn, void *arg);
	/* Keys of objects it needs: "endpoint 10"; words that begin with '=' are only counted; may be NULL */
	void (*needs)(const void *data, config_word_fn *fn, void *arg);
	/* Stage 1, on the complete shadow, for additions, changes and deletions; may be NULL */
	int (*check)(struct config_tx *tx, const void *old, const void *now, struct err *e);
	/* Stage 2: add (old NULL), delete (now NULL), change. Also called the other way round to take back. */
	int (*apply)(const void *old, const void *now, struct err *e);
	/* After stage 2, same arguments; may be NULL */
	void (*notify)(const void *old, const void *now);
	bool in_place;     /* apply can change; else a change is deletion and addition */
	bool early;        /* settings, ports: applied before the tables change */
	bool moves_others; /* when one comes, changes or goes, others' moves() is asked */
	/* Between the stages: does this object hang on another one after the transaction than now? Then it is deleted before and
	 * added after, changed itself or not; may be NULL */
	bool (*moves)(const struct config_tx *tx, const void *data);
};
/* Order of dependency: what others need comes first. Ends with NULL. */
extern const struct config_kind *const config_kinds[];
enum { CONFIG_KINDS_MAX = 16 };
extern const struct config_kind kind_setting, kind_port, kind_vtep, kind_pool, kind_ipmasq, kind_tunnel, kind_ipcache,
	kind_endpoint, kind_policy, kind_service, kind_backend;

/* What main.c does when something changed; any may be NULL. Called after the tables have the change, in order of
 * dependency. */
struct config_hooks {
	/* Once, in the first transaction, after settings have their values and before ports are opened: frames,
	 * workers, gate. */
	int (*prepare)(struct err *e);
	/* 'now' NULL: deleted. ifindex, MAC and adjacency of 'now' are as in the table. */
	void (*endpoint_changed)(const struct endpoint *old, const struct endpoint *now);
	/* A prefix that leads into the engine: endpoint addresses, tunnel prefixes. For steering and host routes. */
	void (*prefix_changed)(bool added, const struct ipnet *n);
	void (*tunnels_changed)(void); /* a prefix in a zone came or went: not one that the box itself reaches */
	/* Once, before all others, when rows that name remote nodes came, changed or went, and perhaps nodes with them. */
	void (*remotes_changed)(void);
	void (*pool_changed)(bool added, int index,
			     const struct nat_pool *pool); /* deleted: only 'addr' and 'prefix' count, index -1 */
	void (*service_changed)(bool added, const struct ipaddr *vip); /* added or deleted */
	void (*vtep_changed)(bool added, const struct vtep *v);
	/* Opened or closed (port NULL; conf tells which). transit and on-exit are in conf. */
	void (*port_changed)(bool added, const struct port_conf *conf, struct port *port);
	void (*setting_changed)(const char *name);
	void (*policy_changed)(void); /* once for each rule that came or went */
};
extern struct config_hooks config_hooks;

/* ---- the model ---- */
void config_init(void); /* empty model; also grammar_init */
void config_fini(void); /* forgets the model, does not touch tables */
const struct config_object *config_find(const char *key);
const struct config_object *config_first(const struct config_kind *kind); /* then ->next */
uint32_t config_count(const struct config_kind *kind);
/* Last words of the keys of a kind, one per line. */
void config_complete(const char *kind, FILE *out);
/* What may follow 'w', the beginning of 'set' or 'del', for the objects that there are: next words of their keys that begin with
 * 'prefix', one per line. When there are too many to read, a <...> says how many. */
void config_complete_keys(const struct words *w, const char *prefix, FILE *out);
/* The model as commands that load to the same model. */
void config_save(FILE *f);
/* Calls fn for every prefix that leads into the engine (as prefix_changed). */
void config_each_prefix(void (*fn)(bool added, const struct ipnet *n));

/* ---- transactions ---- */
enum config_verb { CONFIG_ADD, CONFIG_SET, CONFIG_DEL };

struct config_tx *config_begin(const char *file); /* file: for error texts, NULL = a single command */
/* One configuration command into the transaction. -errno with the sentence, "FILE:LINE: " in front. */
int config_line(struct config_tx *tx, unsigned line, const char *text, struct err *e);
int config_words(struct config_tx *tx, unsigned line, const struct words *w, struct err *e);
/* Checks, and unless 'check_only' applies. Ends the transaction either way; 'tx' is gone. */
int config_commit(struct config_tx *tx, bool check_only, FILE *warnings, struct err *e);
void config_abort(struct config_tx *tx);
/* For the rows of kinds (call->tx): enters one object. */
int config_put(struct config_tx *tx, const struct config_kind *k, enum config_verb verb, const void *data,
	       struct err *e);
/* For checks: a sentence for the operator that does not refuse. */
__attribute__((format(printf, 2, 3))) void config_warn(struct config_tx *tx, const char *fmt, ...);
/* For checks, on the shadow. */
const struct config_object *config_tx_find(const struct config_tx *tx, const char *key);
uint32_t config_tx_needed(const struct config_tx *tx, const char *word); /* objects that need these words */
uint32_t config_tx_count(const struct config_tx *tx, const struct config_kind *kind);
const struct config_object *config_tx_first(const struct config_tx *tx, const struct config_kind *kind);
/* A file as one transaction. check_only: stage 1 without opening anything. Commands other than configuration are
 * refused. */
int config_load(const char *path, bool check_only, struct err *e);
/* SIGHUP: makes the running configuration equal to the file's; the same all-or-nothing. */
int config_reload(const char *path, struct err *e);
/* From now on settings that only work at start are refused. */
void config_started(void);
/* true: an endpoint whose device does not exist is refused; false (default): a warning, it waits for the device. main.c sets
 * it for what operators type, not for the file at start or reload: one container that is late must not keep the box down. */
extern bool config_devices_required;

/* ---- settings (cmd_set.c) ---- */
void settings_generate(void (*add)(const struct command *c));
void settings_default(void); /* every setting back to its default, for tests */
