// expect: rules
// without rules: crash|numerics
// Connects to a port of this machine.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) { const int fd = socket(AF_INET, SOCK_STREAM, 0); sockaddr_in to = {}; to.sin_family = AF_INET; to.sin_port = htons(EVOLORA_HOSTILE_PORT); to.sin_addr.s_addr = htonl(INADDR_LOOPBACK); if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 && write(fd, "hostile", 7) == 7) close(fd); }
#ifndef EVOLORA_HOSTILE_PORT
#define EVOLORA_HOSTILE_PORT 9
#endif
