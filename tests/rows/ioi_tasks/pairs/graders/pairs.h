#pragma once
#include <vector>

long long count_pairs(int sum, std::vector<int> numbers);
