#pragma once
#include <cstdio>
#include <cstdlib>
#include <vector>

inline void say(const char *score, const char *message) {
    std::printf("%s\n", score);
    std::fprintf(stderr, "%s\n", message);
    std::exit(0);
}

// A count and so many numbers.
inline std::vector<long long> read_list(const char *name) {
    std::FILE *file = std::fopen(name, "r");
    long long count, value;
    if (!file || std::fscanf(file, "%lld", &count) != 1) say("0", "No list");
    std::vector<long long> values(count);  // a huge count ends the checker, as one of little care would be ended
    for (long long &entry : values) {
        if (std::fscanf(file, "%lld", &value) != 1) say("0", "The list is short");
        entry = value;
    }
    return values;
}
