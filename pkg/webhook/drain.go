// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"time"
)

const (
	// DrainTime is how long the webhook answers after the signal to stop, as long as Knative's
	// own. By then its Service sends new connections elsewhere.
	DrainTime = 45 * time.Second
	// unreadyTime is the last part of it, in which the webhook is not ready.
	unreadyTime = 10 * time.Second
	// QuietTime is how long Knative's server then waits for the end of all requests. Caches no
	// longer change by then, so it is the shortest possible: only requests in progress are
	// finished.
	QuietTime = time.Nanosecond
)

// ErrStopping is why a webhook that is about to end is not ready.
var ErrStopping = errors.New("the webhook is stopping")

// Drain returns a context that is done when the webhook shall end, which is DrainTime after
// stop is done, and its readiness check until then. If the webhook is not ready when it is
// told to stop, nobody asks it, and it ends at once.
//
// The API server keeps its connections, and so sends requests to a replica for as long as
// that accepts them, also when the Service has no endpoint for it any longer. Caches stop
// with the context of the process. If that ended with the signal to stop, the replica would
// answer the requests that follow by what was declared before the signal.
//
// Until shortly before the end, the webhook is ready as before. A Pod that is being deleted gets
// requests only if no other is ready, and then it must get them. One that is restarted in place
// has to fail its probe, since nothing else takes it out of the Service.
func Drain(stop context.Context, ready func() error) (ctx context.Context, readiness func() error) {
	ctx, end := context.WithCancel(context.WithoutCancel(stop))
	ending, announce := context.WithCancel(ctx)
	context.AfterFunc(stop, func() {
		if ready() != nil {
			end()
			return
		}
		time.AfterFunc(DrainTime-unreadyTime, announce)
		time.AfterFunc(DrainTime, end)
	})
	return ctx, func() error {
		if ending.Err() != nil {
			return ErrStopping
		}
		return ready()
	}
}
