#include "splits.h"
std::vector<int> choose(std::vector<int> numbers) {
    int n = numbers.size(), sum = 0;
    std::vector<int> first(n, -2);
    first[0] = -1;
    for (int i = 0; i < n; i++) {
        sum = (sum + numbers[i]) % n;
        if (first[sum] != -2) {
            std::vector<int> places;
            for (int j = i; j > first[sum]; j--) places.push_back(j);
            return places;
        }
        first[sum] = i;
    }
    return {};
}
