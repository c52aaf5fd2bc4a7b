/*
 * abort.c
 *	  A client library that ends its process: preloaded into the server
 *	  (LD_PRELOAD), this calls abort() in librdkafka's thread when it sends a
 *	  record that contains "crash-the-sink", or anything at all while the file
 *	  exists that OUTBOX_TEST_ABORT names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const char marker[] = "crash-the-sink";

static void
die(void)
{
	static const struct rlimit no_core;

	setrlimit(RLIMIT_CORE, &no_core);
	abort();
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	static ssize_t (*next)(int, const struct msghdr *, int);
	const char *file = getenv("OUTBOX_TEST_ABORT");

	if (next == NULL)
		next = (ssize_t(*)(int, const struct msghdr *, int)) dlsym(RTLD_NEXT,
																   "sendmsg");
	if (file != NULL && access(file, F_OK) == 0)
		die();
	for (size_t i = 0; i < message->msg_iovlen; i++)
	{
		if (memmem(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len,
				   marker, sizeof(marker) - 1))
			die();
	}
	return next(fd, message, flags);
}
