// Waits for an answer to a question that it never asks.
#include "guess.h"
#include <cstdio>
int find_secret(int) {
    return std::getchar() + std::getchar() + std::getchar();
}
