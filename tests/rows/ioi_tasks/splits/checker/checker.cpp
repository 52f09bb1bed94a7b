// Any places whose numbers have a sum divisible by their count n will do; full score if they are consecutive.
#include "reading.h"
#include <set>

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    std::vector<long long> numbers = read_list(argv[1]);
    read_list(argv[2]);
    std::vector<long long> places = read_list(argv[3]);
    long long n = numbers.size(), sum = 0;
    std::set<long long> seen(places.begin(), places.end());
    if (places.empty() || seen.size() != places.size()) say("0", "Places must be distinct, at least one");
    if (*seen.begin() < 0 || *seen.rbegin() >= n) say("0", "A place is out of range");
    for (long long place : places) sum += numbers[place];
    if (sum % n) say("0", "The sum isn't divisible");
    bool consecutive = *seen.rbegin() - *seen.begin() + 1 == (long long)seen.size();
    say(consecutive ? "1.0" : "0.625", consecutive ? "translate:success" : "Divisible, but not consecutive");
}
