// SPDX-License-Identifier: Apache-2.0
// Lets the compiler wait for input that never comes, and read without end.
#include </dev/stdin>
#include </dev/zero>
int main() {}
