/* SPDX-License-Identifier: BSD-2-Clause */
/* Arenas: a header page and the data behind it, in a file or anonymous. Control thread, at start and stop.
 *
 * Entries are not populated: a table of ten million entries costs memory only for the entries in use. A file in the way is
 * unlinked, not truncated, so that a process which still maps the old one keeps its memory. Directories: DIR is this
 * process', DIR.former the last one's until everything of use is taken over, DIR/gone is on its way out. */
#include "tables/arena.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ARENA_MAGIC 0x616e657261636c73ull /* "slcarena" */
/* STATE_VERSION: to be raised when a byte of a kept entry changes its meaning but not its place. */
enum { HEADER_SIZE = 4096, HUGE_PAGE = 2 << 20, STATE_VERSION = 1, ATTEMPTS_MAX = 3 };

struct arena_header {
	uint64_t magic, layout, capacity, size;
	uint64_t version;
	char boot[40]; /* time stamps are CLOCK_MONOTONIC: they mean nothing after a reboot */
};

static char dir_path[PATH_MAX - NAME_MAX - 16]; /* empty: anonymous memory */
static char former_path[PATH_MAX - NAME_MAX - 1];
static bool have_former;
static uint64_t promised; /* bytes of all files so far */
static char reasons[256];

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
	size_t n = strlen(reasons);
	va_list ap;

	if (n && n + 2 < sizeof(reasons))
		n += (size_t)snprintf(reasons + n, sizeof(reasons) - n, "; ");
	va_start(ap, fmt);
	vsnprintf(reasons + n, sizeof(reasons) - n, fmt, ap);
	va_end(ap);
}

const char *arena_reason(void)
{
	return reasons;
}

static const char *boot_id(void)
{
	static char id[sizeof(((struct arena_header *)0)->boot)];
	FILE *f = id[0] ? NULL : fopen("/proc/sys/kernel/random/boot_id", "re");

	if (f) {
		if (fgets(id, sizeof(id), f))
			id[strcspn(id, "\n")] = '\0';
		fclose(f);
	}
	return id;
}

/* ---- directories ---- */

static void remove_files(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *f;

	if (!d)
		return;
	while ((f = readdir(d))) {
		const char *dot = strrchr(f->d_name, '.');
		if ((dot && strcmp(dot, ".arena") == 0) || strcmp(f->d_name, "attempts") == 0)
			unlinkat(dirfd(d), f->d_name, 0);
	}
	closedir(d);
	rmdir(path); /* stays if it holds files of others */
}

/* With a former directory whose removal was interrupted. */
static void remove_dir(const char *path)
{
	char gone[PATH_MAX + 8];

	snprintf(gone, sizeof(gone), "%s/gone", path);
	remove_files(gone);
	remove_files(path);
}

/* 1: a directory that only we could have filled, 0: there is nothing, -1: something else. */
static int is_ours(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -1;
	return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 1 : -1;
}

bool arena_small_pages(void)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	size_t longest = 0;
	bool small = false;

	while (f && dir_path[0] && (m = getmntent(f))) {
		const size_t n = strlen(m->mnt_dir);
		const char *huge = hasmntopt(m, "huge");
		if (n < longest || strncmp(dir_path, m->mnt_dir, n) != 0)
			continue;
		longest = n;
		small = strcmp(m->mnt_type, "tmpfs") == 0 && (!huge || strncmp(huge, "huge=never", 10) == 0);
	}
	if (f)
		endmntent(f);
	return small;
}

int arena_set_dir(const char *dir, struct err *e)
{
	static const char not_ours[] = "state directory %s: it is not a directory of this user alone: remove it";

	dir_path[0] = former_path[0] = reasons[0] = '\0';
	have_former = false;
	promised = 0;
	if (!dir)
		return 0;
	if (strlen(dir) >= sizeof(dir_path))
		return err_set(e, -ENAMETOOLONG, "state directory: the name is too long");
	char former[sizeof(former_path)];
	snprintf(former, sizeof(former), "%s.former", dir);
	int now = is_ours(dir), old = is_ours(former);
	if (now < 0)
		return err_set(e, -EPERM, not_ours, dir);
	if (old < 0)
		note("%.128s is not a directory of this user alone: not read", former);
	/* Both: the last process died before it had taken over everything. Only the former one is whole. */
	if (now && old)
		remove_dir(dir);
	else if (now && rename(dir, former) == 0)
		old = 1;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, -errno, "state directory %s: %s", dir, strerror(errno));
	/* anybody can make one there, also a moment ago */
	if (is_ours(dir) <= 0)
		return err_set(e, -EPERM, not_ours, dir);
	snprintf(dir_path, sizeof(dir_path), "%s", dir);
	snprintf(former_path, sizeof(former_path), "%s", former);
	have_former = old > 0;
	return 0;
}

/* ---- the former process' files ---- */

bool arena_former_begin(void)
{
	char path[PATH_MAX];
	struct stat st;

	if (!have_former)
		return false;
	snprintf(path, sizeof(path), "%s/attempts", former_path);
	/* Its length is the count: a hole needs no memory, which may be what is short. */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	have_former =
		fd >= 0 && fstat(fd, &st) == 0 && st.st_size < ATTEMPTS_MAX - 1 && ftruncate(fd, st.st_size + 1) == 0;
	if (fd >= 0)
		close(fd);
	if (!have_former)
		note("taking over the former state failed before: started empty");
	return have_former;
}

static const char *judge(int fd, uint64_t layout, struct arena_header *h)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return "it belongs to another user";
	/* read(2) works on tmpfs and on hugetlbfs */
	if (read(fd, h, sizeof(*h)) != (ssize_t)sizeof(*h) || h->magic != ARENA_MAGIC)
		return "it is not an arena";
	if (h->layout != layout || h->version != STATE_VERSION)
		return "it has another layout";
	if (strnlen(h->boot, sizeof(h->boot)) == sizeof(h->boot) || strcmp(h->boot, boot_id()) != 0)
		return "it is from before the last boot";
	if (h->size > INT64_MAX - HEADER_SIZE || (uint64_t)st.st_size < HEADER_SIZE + h->size)
		return "it is cut off";
	return NULL;
}

int arena_former_open(const char *name, uint64_t layout, struct arena_file *f)
{
	char path[PATH_MAX];
	struct arena_header h;

	*f = (struct arena_file){ .fd = -1 };
	if (!have_former)
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/%s.arena", former_path, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		note("%s: no file", name);
		return -ENOENT;
	}
	const char *what = judge(fd, layout, &h);
	if (what) {
		note("%s: %s", name, what);
		close(fd);
		return -EINVAL;
	}
	*f = (struct arena_file){ .fd = fd, .capacity = h.capacity, .size = h.size };
	return 0;
}

bool arena_former_read(const struct arena_file *f, uint64_t offset, void *buf, size_t len)
{
	if (offset > f->size || len > f->size - offset)
		return false;
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(f->fd, (char *)buf + done, len - done, (off_t)(HEADER_SIZE + offset + done));
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

void arena_former_done(void)
{
	char gone[PATH_MAX];

	if (!former_path[0] || is_ours(former_path) <= 0)
		return;
	/* One rename: the next process finds it whole or not at all. What that left of the one before goes first: names
	 * within names would never be reached. */
	snprintf(gone, sizeof(gone), "%s/gone", former_path);
	remove_dir(gone);
	snprintf(gone, sizeof(gone), "%s/gone", dir_path);
	remove_dir(rename(former_path, gone) == 0 ? gone : former_path);
	have_former = false;
}

/* ---- this process' files ---- */

static int open_anonymous(struct arena *a, const char *name, struct err *e)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	/* The kernel reserves huge pages here or refuses: it does not fail later. */
	if (a->map_size >= HUGE_PAGE) {
		size_t n = ALIGN_UP(a->map_size, (size_t)HUGE_PAGE);
		a->map = mmap(NULL, n, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
		if (a->map != MAP_FAILED) {
			a->map_size = n;
			return 0;
		}
	}
	a->map = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1, 0);
	if (a->map == MAP_FAILED)
		return err_set(e, -errno, "%s: no memory for %zu bytes; lower its capacity", name, a->map_size);
	madvise(a->map, a->map_size, MADV_HUGEPAGE);
	return 0;
}

/* At an address where huge pages fit, which mmap() chooses only when they are on for everybody. */
static void *map_shared(int fd, size_t size)
{
	const int prot = PROT_READ | PROT_WRITE;
	if (size < HUGE_PAGE)
		return mmap(NULL, size, prot, MAP_SHARED, fd, 0);
	uint8_t *room = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return MAP_FAILED;
	uint8_t *at = (uint8_t *)ALIGN_UP((uintptr_t)room, (uintptr_t)HUGE_PAGE);
	void *map = mmap(at, size, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED) {
		munmap(room, size + HUGE_PAGE);
		return MAP_FAILED;
	}
	if (at > room)
		munmap(room, (size_t)(at - room));
	munmap(at + size, (size_t)(room + HUGE_PAGE - at));
	return map;
}

static int open_file(struct arena *a, const char *name, struct err *e)
{
	char path[PATH_MAX];
	struct statfs fs;

	if (strchr(name, '/') || strlen(name) > NAME_MAX - 8)
		return err_set(e, -EINVAL, "arena %s: not a file name", name);
	snprintf(path, sizeof(path), "%s/%s.arena", dir_path, name);
	unlink(path);
	a->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (a->fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (fstatfs(a->fd, &fs) != 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (fs.f_type == HUGETLBFS_MAGIC)
		a->map_size = ALIGN_UP(a->map_size, (size_t)fs.f_bsize);
	/* Pages come lazily, and one that does not come is a SIGBUS in the packet path: promise only what is there. */
	if (fs.f_blocks && promised + a->map_size > fs.f_bavail * (uint64_t)fs.f_bsize) { /* no blocks: no limit */
		note("%.64s: too little room for its file; it ends with the process", name);
		unlink(path);
		close(a->fd);
		a->fd = -1;
		return open_anonymous(a, name, e);
	}
	promised += a->map_size;
	if (ftruncate(a->fd, (off_t)a->map_size) < 0)
		return err_set(e, -errno, "%s: %zu bytes: %s", path, a->map_size, strerror(errno));
	a->map = map_shared(a->fd, a->map_size);
	if (a->map == MAP_FAILED)
		return err_set(e, -errno, "%s: cannot map %zu bytes: %s", path, a->map_size, strerror(errno));
	madvise(a->map, a->map_size, MADV_HUGEPAGE);
	return 0;
}

int arena_open(struct arena *a, const char *name, uint64_t layout, uint64_t capacity, size_t size, struct err *e)
{
	struct arena_header head = { ARENA_MAGIC, layout, capacity, size, STATE_VERSION, "" };

	*a = (struct arena){ .size = size, .fd = -1, .map = MAP_FAILED };
	a->map_size = HEADER_SIZE + ALIGN_UP(size, (size_t)HEADER_SIZE);
	int r = name && dir_path[0] ? open_file(a, name, e) : open_anonymous(a, name ? name : "index", e);
	if (r) {
		arena_close(a);
		return r;
	}
	a->base = (char *)a->map + HEADER_SIZE;
	snprintf(head.boot, sizeof(head.boot), "%s", boot_id());
	memcpy(a->map, &head, sizeof(head));
	return 0;
}

void arena_populate(struct arena *a)
{
#ifdef MADV_POPULATE_WRITE
	madvise(a->map, a->map_size, MADV_POPULATE_WRITE);
#else
	(void)a;
#endif
}

void arena_close(struct arena *a)
{
	if (!a)
		return;
	if (a->map && a->map != MAP_FAILED)
		munmap(a->map, a->map_size);
	if (a->map && a->fd >= 0)
		close(a->fd);
	*a = (struct arena){ .fd = -1 };
}

void arena_remove_all(void)
{
	if (dir_path[0])
		remove_dir(dir_path);
}
