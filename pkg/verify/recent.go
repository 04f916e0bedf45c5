// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// shared is how long an answer counts for others who ask the same: ClusterPullSecrets with one
// source ask at the same time. It is shorter than any interval after which a check is repeated.
const shared = 30 * time.Second

// recent are the last answers. Of a question with its credential, it keeps a digest with a
// secret of the process.
type recent struct {
	secret  []byte
	mu      sync.Mutex
	answers map[digest]recentAnswer
}

type digest [sha256.Size]byte

type recentAnswer struct {
	result Result
	why    string
	until  time.Time
}

func newRecent() *recent {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // It never fails.
	return &recent{secret: secret, answers: map[digest]recentAnswer{}}
}

// keyOf identifies a question with a credential.
func (r *recent) keyOf(parts ...string) (key digest) {
	sum := hmac.New(sha256.New, r.secret)
	for _, part := range parts {
		of := sha256.Sum256([]byte(part))
		sum.Write(of[:])
	}
	copy(key[:], sum.Sum(nil))
	return key
}

// find returns the answer to the same question, if there was one lately.
func (r *recent) find(key digest, now time.Time) (result Result, why string, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, found := r.answers[key]
	if !found || !now.Before(a.until) {
		return "", "", false
	}
	return a.result, a.why, true
}

func (r *recent) note(key digest, result Result, why string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.answers, func(_ digest, a recentAnswer) bool { return !now.Before(a.until) })
	r.answers[key] = recentAnswer{result, why, now.Add(shared)}
}
