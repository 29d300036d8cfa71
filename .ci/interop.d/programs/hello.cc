// A program that needs what the cc image adds to base: the C++ library with exceptions, and
// OpenMP.
#include <iostream>
#include <stdexcept>
#include <vector>

int main() {
	long sum = 0;
#pragma omp parallel for reduction(+ : sum)
	for (long i = 1; i <= 1000; i++) sum += i;
	try {
		std::vector<int>(3).at(3);
	} catch (const std::out_of_range &) {
		std::cout << "Hello from C++, sum " << sum << std::endl;
		return sum == 500500 ? 0 : 1;
	}
	return 1;
}
