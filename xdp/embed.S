/* SPDX-License-Identifier: BSD-2-Clause */
/* The BPF objects inside the program: no file to find or to mismatch at run time, no bpftool needed at build time. */
	.section .rodata
	.macro object name, file
	.global bpf_\name\()_start
	.global bpf_\name\()_end
	.balign 8
bpf_\name\()_start:
	.incbin "\file"
bpf_\name\()_end:
	.balign 8
	.endm

	object steer, "xdp/steer.o"
	object container, "xdp/container.o"
	object host, "xdp/host.o"
	object overlay, "xdp/overlay.o"
	.section .note.GNU-stack, "", @progbits
