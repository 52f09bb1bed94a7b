#pragma once
#include <vector>

std::vector<int> choose(std::vector<int> numbers);
