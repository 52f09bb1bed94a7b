// SPDX-License-Identifier: Apache-2.0
// Puts a file of the host into the program, which prints it.
#include <cstdio>
__asm__(".section .rodata\nsecret: .incbin \"@CANARY@\"\n.byte 0\n.text");
extern "C" const char secret[] __asm__("secret");
int main() { std::printf("BROKEN: %.200s\n", secret); }
