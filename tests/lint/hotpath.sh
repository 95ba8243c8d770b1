#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The packet path neither logs, allocates, locks nor makes a system call.
. "$(dirname "$0")/_lib.sh"

calls='log_(write|error|warn|info|debug)|v?f?printf|puts|perror|malloc|calloc|realloc|free|strdup|aligned_alloc|mmap|munmap'
calls+='|open|close|read|write|ioctl|poll|epoll_wait|send|sendto|sendmsg|recv|recvfrom|recvmsg|select|sleep|usleep|nanosleep'
calls+='|clock_gettime|gettimeofday|time|getrandom|syscall|pthread_(mutex|rwlock|cond|spin)_[a-z]+|rcu_wait|clock_ns'
while read -r f; do
	hits=$(sed 's|/\*.*\*/||; s|//.*||' "$f" | grep -nwP "(?<![>.\w])($calls)\s*\(") || continue
	while read -r h; do bad "$f:$h: not in the packet path"; done <<<"$hits"
done < <(sources 'fwd/step/*.[ch]' 'fwd/replay*.[ch]' 'fwd/parse.[ch]')
