#include <cstdio>
int main() {
    long long n, weight, sum = 0;
    if (std::scanf("%lld", &n) != 1) return 1;
    while (std::scanf("%lld", &weight) == 1) sum += weight;
    std::printf("%lld %lld\n", n, sum);
}
