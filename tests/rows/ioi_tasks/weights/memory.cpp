#include <cstdlib>
#include <cstring>
int main() {
    for (;;) {
        void *block = std::malloc(1 << 22);
        if (block) std::memset(block, 1, 1 << 22);
        else std::abort();
    }
}
