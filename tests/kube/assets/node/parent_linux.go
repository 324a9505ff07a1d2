package main

import "syscall"

// dieWithParent makes the kernel kill the process when this program is killed, so that a test run that is
// itself killed leaves nothing behind.
func dieWithParent(attributes *syscall.SysProcAttr) {
	attributes.Pdeathsig = syscall.SIGKILL
}
