#include <algorithm>
long long count_pairs(int sum, std::vector<int> numbers) {
    std::sort(numbers.begin(), numbers.end());
    long long count = 0;
    for (int number : numbers) {
        auto range = std::equal_range(numbers.begin(), numbers.end(), sum - number);
        count += range.second - range.first - (2 * number == sum);
    }
    return count / 2;
}
