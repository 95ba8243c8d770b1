/* SPDX-License-Identifier: BSD-2-Clause */
/* Arenas: a header page and the data behind it, in a file or anonymous. Control thread, at start and stop.
 *
 * Nothing is populated: a table of ten million entries costs memory only for the entries in use. A file that does not
 * fit is unlinked, not truncated, so that a process which still maps the old one keeps its memory. */
#include "tables/arena.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ARENA_MAGIC 0x616e657261636c73ull /* "slcarena" */
enum { HEADER_SIZE = 4096, HUGE_PAGE = 2 << 20 };

struct arena_header {
	uint64_t magic, layout, capacity, size;
};

static char dir_path[PATH_MAX - NAME_MAX - 1]; /* empty: anonymous memory */
static char last_reason[256];

int arena_set_dir(const char *dir, struct err *e)
{
	struct stat st;

	dir_path[0] = '\0';
	if (!dir)
		return 0;
	if (strlen(dir) >= sizeof(dir_path))
		return err_set(e, -ENAMETOOLONG, "state directory: the name is too long");
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, -errno, "state directory %s: %s", dir, strerror(errno));
	if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "state directory %s: not a directory", dir);
	snprintf(dir_path, sizeof(dir_path), "%s", dir);
	return 0;
}

const char *arena_reason(void)
{
	return last_reason;
}

/* Notes why the contents of an earlier process are of no use. */
static void judge_old(int fd, const char *name, const struct arena_header *want)
{
	struct arena_header old = { 0 };
	const char *what = NULL;

	/* read(2) works on tmpfs and on hugetlbfs */
	if (read(fd, &old, sizeof(old)) != (ssize_t)sizeof(old) || old.magic != ARENA_MAGIC)
		what = "not an arena";
	else if (old.layout != want->layout)
		what = "another layout";
	else if (old.capacity != want->capacity || old.size != want->size)
		what = "another capacity";
	if (what)
		snprintf(last_reason, sizeof(last_reason), "%s: started empty, the file had %s", name, what);
}

static uint64_t promised; /* bytes of all files so far */

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

static int open_file(struct arena *a, const char *name, const struct arena_header *want, struct err *e)
{
	char path[PATH_MAX];
	struct statfs fs;

	if (strchr(name, '/') || strlen(name) > NAME_MAX - 8)
		return err_set(e, -EINVAL, "arena %s: not a file name", name);
	snprintf(path, sizeof(path), "%s/%s.arena", dir_path, name);
	int old = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (old >= 0) {
		judge_old(old, name, want);
		close(old);
	}
	unlink(path);
	a->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (a->fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (fstatfs(a->fd, &fs) != 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (fs.f_type == HUGETLBFS_MAGIC)
		a->map_size = ALIGN_UP(a->map_size, (size_t)fs.f_bsize);
	/* Pages come lazily, and one that does not come is a SIGBUS in the packet path: promise only what is there. */
	if (promised + a->map_size > fs.f_bavail * (uint64_t)fs.f_bsize) {
		snprintf(last_reason, sizeof(last_reason),
			 "%.64s: too little room for its file; it ends with the process", name);
		unlink(path);
		close(a->fd);
		a->fd = -1;
		return open_anonymous(a, name, e);
	}
	promised += a->map_size;
	if (ftruncate(a->fd, (off_t)a->map_size) < 0)
		return err_set(e, -errno, "%s: %zu bytes: %s", path, a->map_size, strerror(errno));
	a->map = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
	if (a->map == MAP_FAILED)
		return err_set(e, -errno, "%s: cannot map %zu bytes: %s", path, a->map_size, strerror(errno));
	madvise(a->map, a->map_size, MADV_HUGEPAGE);
	return 0;
}

int arena_open(struct arena *a, const char *name, uint64_t layout, uint64_t capacity, size_t size, struct err *e)
{
	const struct arena_header head = { ARENA_MAGIC, layout, capacity, size };

	*a = (struct arena){ .size = size, .fd = -1, .map = MAP_FAILED };
	a->map_size = HEADER_SIZE + ALIGN_UP(size, (size_t)HEADER_SIZE);
	int r = name && dir_path[0] ? open_file(a, name, &head, e) : open_anonymous(a, name ? name : "index", e);
	if (r) {
		arena_close(a);
		return r;
	}
	a->base = (char *)a->map + HEADER_SIZE;
	memcpy(a->map, &head, sizeof(head));
	return 0;
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
	DIR *d = dir_path[0] ? opendir(dir_path) : NULL;
	struct dirent *f;

	if (!d)
		return;
	while ((f = readdir(d))) {
		const char *dot = strrchr(f->d_name, '.');
		if (dot && strcmp(dot, ".arena") == 0)
			unlinkat(dirfd(d), f->d_name, 0);
	}
	closedir(d);
	rmdir(dir_path); /* stays if it holds files of others */
}
