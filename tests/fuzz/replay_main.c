/* SPDX-License-Identifier: BSD-2-Clause */
/* A main() for a fuzz target without libFuzzer: runs each file given, or all of tests/fuzz/corpus/TARGET, through
 * LLVMFuzzerTestOneInput. 'make check' links every tests/fuzz/fuzz_*.c with it under ASan and UBSan.
 *
 * An empty or missing corpus is a failure: a replay of nothing would always pass. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	struct stat st;
	/* Exactly 'size' bytes on the heap, so that ASan sees a read past the end. */
	uint8_t *data = fstat(fileno(f), &st) == 0 ? malloc((size_t)st.st_size) : NULL;
	int rc = -1;
	if (data || st.st_size == 0) {
		size_t n = fread(data, 1, (size_t)st.st_size, f);
		if (n == (size_t)st.st_size) {
			fprintf(stderr, "%s\n", path);
			LLVMFuzzerTestOneInput(data, n);
			rc = 0;
		}
	}
	free(data);
	fclose(f);
	return rc;
}

static int replay_dir(const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, alphasort), files = 0, rc = 0;
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		char path[1024];
		if (names[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
			rc |= replay_file(path);
			files++;
		}
		free(names[i]);
	}
	free(names);
	if (!files)
		fprintf(stderr, "%s: no inputs\n", dir);
	return files ? rc : -1;
}

/* The program is called replay_TARGET. */
int main(int argc, char **argv)
{
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	if (argc > 1) {
		int rc = 0;
		for (int i = 1; i < argc; i++)
			rc |= replay_file(argv[i]);
		return rc ? 1 : 0;
	}
	const char *base = strrchr(argv[0], '/');
	const char *target = strstr(base ? base : argv[0], "replay_");
	if (!target)
		return 2;
	char dir[512];
	snprintf(dir, sizeof(dir), "tests/fuzz/corpus/%s", target + strlen("replay_"));
	return replay_dir(dir) ? 1 : 0;
}
