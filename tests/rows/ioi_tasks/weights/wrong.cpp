#include <cstdio>
int main() {
    int n, weight, sum = 0;
    if (std::scanf("%d", &n) != 1) return 1;
    for (int i = 1; i < n && std::scanf("%d", &weight) == 1; i++) sum += weight;
    std::printf("%d %d\n", n, sum);
}
