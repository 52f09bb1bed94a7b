#include "guess.h"
int find_secret(int n) {
    int low = 1, high = n;
    while (low < high) {
        int middle = (low + high) / 2, answer = ask(middle);
        if (answer == 0) return middle;
        if (answer < 0) high = middle - 1;
        else low = middle + 1;
    }
    return low;
}
