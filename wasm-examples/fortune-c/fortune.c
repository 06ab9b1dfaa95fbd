/* Prints as many sayings as it is asked for, then ends: fortune [COUNT] */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *const sayings[] = {
    "A coracle is carried to the water by one person.",
    "Row with the current while it lasts.",
    "The smallest boat still needs a dry floor.",
    "Who counts the waves does not cross the river.",
};

int main(int argc, char **argv) {
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    if (count < 1 || count > 1000) {
        fprintf(stderr, "count must be between 1 and 1000\n");
        return 2;
    }
    srand((unsigned)time(NULL));
    for (long i = 0; i < count; i++)
        puts(sayings[rand() % (sizeof sayings / sizeof *sayings)]);
    return 0;
}
