// Tries all sets: right, but the set with the largest places comes first, consecutive or not.
#include "splits.h"
std::vector<int> choose(std::vector<int> numbers) {
    int n = numbers.size();
    for (int last = n - 1; last >= 0; last--)
        for (int other = 0; other + 1 < last; other++)
            if ((numbers[last] + numbers[other]) % n == 0) return {last, other};
    for (int i = 0; i < n; i++)
        if (numbers[i] % n == 0) return {i};
    return {};
}
