// Command hook stands in for the charm's program: it tells what it was run as.
package main

import (
	"fmt"
	"os"
)

func main() {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(os.Args[0], os.Getenv("JUJU_DISPATCH_PATH"), dir)
}
