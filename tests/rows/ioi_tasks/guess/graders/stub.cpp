#include "guess.h"
#include <cstdio>
#include <cstdlib>

int ask(int number) {
    int answer;
    std::printf("? %d\n", number);
    std::fflush(stdout);
    if (std::scanf("%d", &answer) != 1) std::exit(0);
    return answer;
}

int main() {
    int n;
    if (std::scanf("%d", &n) != 1) return 1;
    std::printf("! %d\n", find_secret(n));
    std::fflush(stdout);
    return 0;
}
