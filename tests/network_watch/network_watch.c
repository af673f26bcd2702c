/* Does for native code what sitecustomize.py does for Python: stands before the C library's functions by LD_PRELOAD. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int refused(const char *host, const char *port) {
    char place[512];
    const char *log = getenv("NETWORK_LOG"), *allowed = getenv("NETWORK_ALLOWED");
    snprintf(place, sizeof place, "%s:%s", host ? host : "", port ? port : "");
    if (log) {
        int file = open(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        dprintf(file, "%s\n", place);
        close(file);
    }
    return !allowed || strcmp(place, allowed) != 0;
}

static int refused_address(const struct sockaddr *to, int loopback_too) {
    char host[INET6_ADDRSTRLEN], port[8];
    if (to == NULL) return 0;
    if (to->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)to;
        if (!loopback_too && ntohl(four->sin_addr.s_addr) >> 24 == 127) return 0;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(port, sizeof port, "%u", ntohs(four->sin_port));
    } else if (to->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)to;
        if (!loopback_too && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr)) return 0;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(port, sizeof port, "%u", ntohs(six->sin6_port));
    } else {
        return 0; /* a socket of this machine */
    }
    return refused(host, port);
}

#define REFUSE_TO(to, loopback_too) if (refused_address((const struct sockaddr *)(to), loopback_too)) return errno = ECONNREFUSED, -1

int connect(int fd, const struct sockaddr *to, socklen_t size) {
    REFUSE_TO(to, 1);
    return REAL(connect)(fd, to, size);
}

int bind(int fd, const struct sockaddr *at, socklen_t size) {
    REFUSE_TO(at, 0);
    return REAL(bind)(fd, at, size);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
    REFUSE_TO(to, 1);
    return REAL(sendto)(fd, data, length, flags, to, size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REFUSE_TO(message->msg_name, 1);
    return REAL(sendmsg)(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    for (unsigned int n = 0; n < count; n++) REFUSE_TO(messages[n].msg_hdr.msg_name, 1);
    return REAL(sendmmsg)(fd, messages, count, flags);
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    return refused(host, port) ? EAI_FAIL : REAL(getaddrinfo)(host, port, hints, found);
}

struct hostent *gethostbyname(const char *host) {
    return refused(host, "") ? NULL : REAL(gethostbyname)(host);
}

int gethostbyname_r(const char *host, struct hostent *to, char *buffer, size_t size, struct hostent **found, int *error) {
    if (!refused(host, "")) return REAL(gethostbyname_r)(host, to, buffer, size, found, error);
    *found = NULL;
    *error = NO_RECOVERY;
    return ENOENT;
}
