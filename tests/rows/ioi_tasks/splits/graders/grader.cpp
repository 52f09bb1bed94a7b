#include "splits.h"
#include <cstdio>

int main() {
    int n;
    if (std::scanf("%d", &n) != 1) return 1;
    std::vector<int> numbers(n);
    for (int &number : numbers)
        if (std::scanf("%d", &number) != 1) return 1;
    std::vector<int> chosen = choose(numbers);
    std::printf("%d\n", (int)chosen.size());
    for (int place : chosen) std::printf("%d ", place);
    std::printf("\n");
    return 0;
}
