/* SPDX-License-Identifier: BSD-2-Clause */
/* The former process' entries, by pread (contract in former.h). Control thread, at start.
 *
 * Not mapped: a file may be shorter than its header says or have holes where it should not, and a hole that is read through
 * a mapping takes memory of a tmpfs that may be full; both would be SIGBUS. */
#include "tables/former.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fail(struct former *f, int err)
{
	former_close(f);
	return err;
}

static int open_file(struct former *f, const char *name, uint64_t layout, uint32_t entry_size)
{
	*f = (struct former){ .entry_size = entry_size, .first = UINT64_MAX };
	int r = arena_former_open(name, layout, &f->file);
	if (r)
		return r;
	f->window = aligned_alloc(CACHE_LINE, ALIGN_UP((size_t)FORMER_WINDOW * entry_size, CACHE_LINE));
	return f->window ? 0 : fail(f, -ENOMEM);
}

int former_open_pool(struct former *f, const char *name, uint32_t entry_size)
{
	int r = open_file(f, name, pool_layout(name, entry_size), entry_size);
	if (r)
		return r;
	if (!f->file.capacity || f->file.capacity > UINT32_MAX / 2)
		return fail(f, -EINVAL);
	f->capacity = (uint32_t)f->file.capacity;
	const size_t at = pool_states_at(entry_size, f->capacity), n = (size_t)f->capacity + 1;
	/* before the allocation, so that a wrong capacity cannot ask for more memory than the file has */
	if (at + n > f->file.size)
		return fail(f, -EINVAL);
	f->state = malloc(n);
	if (!f->state)
		return fail(f, -ENOMEM);
	return arena_former_read(&f->file, at, f->state, n) ? 0 : fail(f, -EINVAL);
}

int former_open_array(struct former *f, const char *name, uint64_t layout, uint32_t entry_size, uint32_t capacity)
{
	int r = open_file(f, name, layout, entry_size);
	if (r)
		return r;
	f->capacity = capacity;
	return f->file.capacity == capacity && ((uint64_t)capacity + 1) * entry_size <= f->file.size ? 0
												     : fail(f, -EINVAL);
}

void former_close(struct former *f)
{
	if (!f)
		return;
	if (f->entry_size && f->file.fd >= 0)
		close(f->file.fd);
	free(f->state);
	free(f->window);
	*f = (struct former){ .file.fd = -1 };
}

uint32_t former_next(const struct former *f, uint32_t after)
{
	if (!f->state || after >= f->capacity)
		return 0;
	const uint8_t *s = memchr(f->state + after + 1, POOL_LIVE, f->capacity - after);
	return s ? (uint32_t)(s - f->state) : 0;
}

bool former_is_live(const struct former *f, uint32_t i)
{
	return f->state && i && i <= f->capacity && f->state[i] == POOL_LIVE;
}

const void *former_at(struct former *f, uint32_t i)
{
	const uint64_t first = i - i % FORMER_WINDOW;

	if (!f->window || i > f->capacity)
		return NULL;
	if (f->first != first) {
		const uint64_t n = MIN((uint64_t)FORMER_WINDOW, f->capacity + 1 - first);
		f->first = UINT64_MAX;
		if (!arena_former_read(&f->file, first * f->entry_size, f->window, n * f->entry_size))
			return NULL;
		f->first = first;
	}
	return f->window + (i - first) * f->entry_size;
}
