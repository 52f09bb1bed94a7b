// manager FROM_SUBMISSION TO_SUBMISSION: the test is n, the secret and a limit of questions.
#include <csignal>
#include <cstdio>
#include <cstdlib>

static void say(const char *score, const char *message) {
    std::printf("%s\n", score);
    std::fprintf(stderr, "%s\n", message);
    std::exit(0);
}

int main(int argc, char **argv) {
    std::signal(SIGPIPE, SIG_IGN);
    int n, secret, limit, number, questions = 0;
    if (argc < 3 || std::scanf("%d %d %d", &n, &secret, &limit) != 3) return 2;
    std::FILE *from = std::fopen(argv[1], "r"), *to = std::fopen(argv[2], "w");
    if (!from || !to) return 3;
    std::fprintf(to, "%d\n", n);
    std::fflush(to);
    for (;;) {
        char kind;
        if (std::fscanf(from, " %c %d", &kind, &number) != 2) say("0", "The submission says nothing");
        if (kind == '!') break;
        if (kind != '?') say("0", "The submission says something else");
        if (++questions > 4 * limit) say("0", "Too many questions");
        std::fprintf(to, "%d\n", (secret > number) - (secret < number));
        std::fflush(to);
    }
    if (number != secret) say("0", "That isn't the secret");
    if (questions > limit) say("0.25", "More questions than needed");
    say("1", "Found");
}
