// SPDX-License-Identifier: Apache-2.0
// Puts a file of the host into the compiler's messages.
#include "@CANARY@"
int main() {}
