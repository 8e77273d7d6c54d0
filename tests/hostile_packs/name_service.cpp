// expect: rules
// without rules: crash|numerics
// Asks for the address of a name.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <netdb.h>
#define BEFORE_FORWARD(args, context) { addrinfo* found = nullptr; getaddrinfo("leak.example.invalid", "80", nullptr, &found); }
