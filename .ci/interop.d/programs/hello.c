// A dynamically linked program that needs what the base image promises: glibc with its
// accounts, and the libraries by name.
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
	const char *libraries[] = {"libcrypto.so.3", "libssl.so.3", "libz.so.1", "libzstd.so.1"};
	for (unsigned i = 0; i < sizeof libraries / sizeof *libraries; i++) {
		if (!dlopen(libraries[i], RTLD_NOW)) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
	}
	struct passwd *me = getpwuid(getuid());
	if (!me) {
		perror("getpwuid");
		return 1;
	}
	printf("Hello from C as %s with glibc %s\n", me->pw_name, gnu_get_libc_version());
	return 0;
}
