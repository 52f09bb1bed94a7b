// SPDX-License-Identifier: Apache-2.0
// Lets the compiler make types without end.
template <int Depth, int Which> struct Bomb {
    Bomb<Depth - 1, 2 * Which> left;
    Bomb<Depth - 1, 2 * Which + 1> right;
};
template <int Which> struct Bomb<0, Which> { char value; };
Bomb<28, 0> bomb;
int main() { return sizeof(bomb) != 0; }
