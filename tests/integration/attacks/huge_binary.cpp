// SPDX-License-Identifier: Apache-2.0
// Lets the assembler write a file of 2 GiB.
char huge[1ull << 31] = {1};
int main() { return huge[12345]; }
