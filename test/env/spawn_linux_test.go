// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestChildrenDieWithTheirParent kills a parent, which is this test program again, and
// checks that its children die.
func TestChildrenDieWithTheirParent(t *testing.T) {
	const asParent = "ENV_TEST_AS_PARENT"
	if os.Getenv(asParent) != "" {
		cmd := exec.Command("sleep", "3600")
		if err := spawn(cmd); err != nil {
			t.Fatal(err)
		}
		id, err := identify(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		content, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(content))
		time.Sleep(time.Hour) // until it is killed
		return
	}

	parent := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	parent.Env = append(os.Environ(), asParent+"=1")
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var grandchild identity
	if err := json.Unmarshal(line, &grandchild); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if !grandchild.alive() {
		t.Fatalf("no process %+v", grandchild)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // It was killed.
	if !grandchild.waitGone(t.Context(), longTimeout) {
		t.Error("child of a killed parent still runs")
	}
}
