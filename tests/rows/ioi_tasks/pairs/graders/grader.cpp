#include "pairs.h"
#include <cstdio>

int main() {
    int n, sum;
    if (std::scanf("%d %d", &n, &sum) != 2) return 1;
    std::vector<int> numbers(n);
    for (int &number : numbers)
        if (std::scanf("%d", &number) != 1) return 1;
    std::printf("pairs\n%lld\n", count_pairs(sum, numbers));
    return 0;
}
