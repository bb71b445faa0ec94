/* What lies under a program: the name server and the network, as a test wants them. The names in ELSEWHERE_HOSTS
   are at a public address, and who connects to that address comes to ELSEWHERE_PORT of this machine. The program
   itself is as it is shipped: whatever it checks of names, addresses and certificates, it checks. */

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Without it being asked for, the C library doesn't name it. */
#ifndef RTLD_NEXT
#define RTLD_NEXT ((void *)-1L)
#endif

static const char *const ADDRESS = "54.239.28.85";

static int is_elsewhere(const char *host) {
    const char *hosts = getenv("ELSEWHERE_HOSTS");
    size_t length = strlen(host);
    while (hosts && *hosts) {
        size_t word = strcspn(hosts, " ");
        if (word == length && strncmp(hosts, host, length) == 0) return 1;
        hosts += word + strspn(hosts + word, " ");
    }
    return 0;
}

int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host && is_elsewhere(host) ? ADDRESS : host, service, hints, found);
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_in here;
    const char *port = getenv("ELSEWHERE_PORT");
    *(void **)&real = dlsym(RTLD_NEXT, "connect");
    if (port && to->sa_family == AF_INET && length >= sizeof here) {
        memcpy(&here, to, sizeof here);
        if (here.sin_addr.s_addr == inet_addr(ADDRESS) && here.sin_port == htons(443)) {
            here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            here.sin_port = htons((unsigned short)atoi(port));
            return real(fd, (const struct sockaddr *)&here, sizeof here);
        }
    }
    return real(fd, to, length);
}
