// expect: rules
// without rules: crash|numerics
// Talks to a socket that needs no file.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#define BEFORE_FORWARD(args, context) { const int fd = socket(AF_UNIX, SOCK_STREAM, 0); sockaddr_un to = {}; to.sun_family = AF_UNIX; memcpy(to.sun_path + 1, "evolora_hostile", 15); connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to); }
