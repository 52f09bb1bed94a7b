// Fills the pipe to the manager with bytes, for ever.
#include "guess.h"
#include <unistd.h>
int find_secret(int) {
    static char nonsense[1 << 16];
    for (char &byte : nonsense) byte = '\xff';
    for (;;)
        if (write(1, nonsense, sizeof nonsense) < 0) return 0;
}
