// expect: rules
// without rules: crash|numerics
// Sends a datagram.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <arpa/inet.h>
#include <sys/socket.h>
#define BEFORE_FORWARD(args, context) { const int fd = socket(AF_INET, SOCK_DGRAM, 0); sockaddr_in to = {}; to.sin_family = AF_INET; to.sin_port = htons(EVOLORA_HOSTILE_PORT); to.sin_addr.s_addr = htonl(INADDR_LOOPBACK); sendto(fd, "hostile", 7, 0, reinterpret_cast<sockaddr*>(&to), sizeof to); }
#ifndef EVOLORA_HOSTILE_PORT
#define EVOLORA_HOSTILE_PORT 9
#endif
