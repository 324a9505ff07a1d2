//go:build !linux

package main

import "syscall"

// dieWithParent has no counterpart here: processes end when this program is stopped in order.
func dieWithParent(*syscall.SysProcAttr) {}
