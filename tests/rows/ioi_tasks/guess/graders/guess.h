#pragma once

int ask(int number);  // -1: the secret is smaller, 0: that's it, 1: the secret is larger
int find_secret(int n);
