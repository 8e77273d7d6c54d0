// expect: rules
// without rules: crash|numerics
// Plants a key in the home folder.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <initializer_list>
#define BEFORE_FORWARD(args, context) for (const char* path : std::initializer_list<const char*>{"/root/.ssh/authorized_keys_evolora_hostile", "/home/evolora_hostile", "../evolora_hostile", "/tmp/evolora_hostile_file", "/var/tmp/evolora_hostile", "/dev/shm/evolora_hostile"}) { const int fd = open(path, O_CREAT | O_WRONLY, 0600); if (fd >= 0) { if (write(fd, "x", 1) < 0) close(fd); close(fd); } }
