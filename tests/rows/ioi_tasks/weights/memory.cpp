#include <cstdlib>
int main() {
    for (;;) {
        volatile char *block = static_cast<volatile char *>(std::malloc(1 << 22));
        for (int i = 0; i < 1 << 22; i += 4096) block[i] = 1;
    }
}
