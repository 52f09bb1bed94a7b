int main() {
    return nothing_of_that_name;
}
