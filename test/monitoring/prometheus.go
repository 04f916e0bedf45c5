// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"sigs.k8s.io/yaml"
)

// Scrape is a target of Prometheus on loopback, with the labels that the Prometheus operator
// would give it.
type Scrape struct {
	Port     int
	Labels   map[string]string
	Interval time.Duration
	// TLS are settings of tls_config by their names. Nil is plain HTTP.
	TLS map[string]string
}

// Interval is how often a [Prometheus] evaluates its rules.
const Interval = time.Second

// Prometheus is a process that scrapes targets and evaluates rules.
type Prometheus struct {
	url   string
	stdin io.Closer
	cmd   *exec.Cmd
	log   string
}

// Start starts a Prometheus of the directory programs on a free port of loopback. Its files
// are in dir. It ends with Stop, or with this process.
func Start(ctx context.Context, programs, dir string, groups []Group, targets []Scrape) (*Prometheus, error) {
	rules, err := RuleFile(groups)
	if err != nil {
		return nil, err
	}
	config, err := yaml.Marshal(configuration(targets))
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{"rules.yaml": rules, "prometheus.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{url: "http://" + address, log: filepath.Join(dir, "prometheus.log")}
	if err := p.run(programs, dir, address); err != nil {
		return nil, err
	}
	if err := p.waitUntilReady(ctx); err != nil {
		log, _ := os.ReadFile(p.log)
		return nil, errors.Join(fmt.Errorf("start Prometheus: %w\n%s", err, log), p.Stop())
	}
	return p, nil
}

func configuration(targets []Scrape) map[string]any {
	var jobs []map[string]any
	for i, target := range targets {
		job := map[string]any{
			"job_name":     fmt.Sprint(i), // Replaced by the label job.
			"honor_labels": true, "scrape_interval": target.Interval.String(), "scrape_timeout": target.Interval.String(),
			"static_configs": []any{map[string]any{
				"targets": []string{fmt.Sprintf("127.0.0.1:%d", target.Port)}, "labels": target.Labels,
			}},
		}
		if target.TLS != nil {
			job["scheme"], job["tls_config"] = "https", target.TLS
		}
		jobs = append(jobs, job)
	}
	return map[string]any{
		"global":         map[string]any{"evaluation_interval": Interval.String()},
		"rule_files":     []string{"rules.yaml"},
		"scrape_configs": jobs,
	}
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// run starts the process below a shell that ends it when its standard input is closed, which
// happens even if this process is killed.
func (p *Prometheus) run(programs, dir, address string) error {
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command("sh", "-c", `"$@" & cat > /dev/null; kill -KILL $!`, "sh", filepath.Join(programs, "prometheus"),
		"--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	return p.cmd.Start()
}

func (p *Prometheus) waitUntilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/-/ready", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the process.
func (p *Prometheus) Stop() error {
	err := p.stdin.Close()
	_ = p.cmd.Wait() // The shell reports the signal with which it ended Prometheus.
	return err
}

// Series is a series of the result of a query. An instant query has one point.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	Time  time.Time
	Value float64
}

// Query evaluates an expression now.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Series, error) {
	return p.query(ctx, "query", url.Values{"query": {expr}})
}

// QueryRange evaluates an expression from start to end.
func (p *Prometheus) QueryRange(ctx context.Context, expr string, start, end time.Time, step time.Duration) ([]Series, error) {
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	return p.query(ctx, "query_range", url.Values{
		"query": {expr}, "start": {seconds(start)}, "end": {seconds(end)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)},
	})
}

func (p *Prometheus) query(ctx context.Context, kind string, values url.Values) ([]Series, error) {
	var data struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := p.get(ctx, kind+"?"+values.Encode(), &data); err != nil {
		return nil, fmt.Errorf("query %s: %w", values.Get("query"), err)
	}
	if data.ResultType == "scalar" {
		var one point
		err := json.Unmarshal(data.Result, &one)
		return []Series{{Points: []Point{Point(one)}}}, err
	}
	var found []struct {
		Metric map[string]string `json:"metric"`
		Value  *point            `json:"value"`
		Values []point           `json:"values"`
	}
	if err := json.Unmarshal(data.Result, &found); err != nil {
		return nil, err
	}
	all := make([]Series, 0, len(found))
	for _, one := range found {
		series := Series{Labels: one.Metric}
		if one.Value != nil {
			one.Values = append(one.Values, *one.Value)
		}
		for _, value := range one.Values {
			series.Points = append(series.Points, Point(value))
		}
		all = append(all, series)
	}
	return all, nil
}

// point is a Point as in Prometheus' JSON: a pair of Unix seconds and a text.
type point Point

func (p *point) UnmarshalJSON(raw []byte) error {
	var pair [2]any
	if err := json.Unmarshal(raw, &pair); err != nil {
		return err
	}
	at, isTime := pair[0].(float64)
	text, isText := pair[1].(string)
	if !isTime || !isText {
		return fmt.Errorf("%s is not a time and a value", raw)
	}
	value, err := strconv.ParseFloat(text, 64)
	p.Time, p.Value = time.UnixMilli(int64(at*1000)), value
	return err
}

// Alert is an alert that is pending or firing.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

// Alerts returns the alerts that are pending or firing.
func (p *Prometheus) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct {
		Alerts []Alert `json:"alerts"`
	}
	err := p.get(ctx, "alerts", &data)
	return data.Alerts, err
}

// Names returns the names of all metrics that were scraped or recorded.
func (p *Prometheus) Names(ctx context.Context) ([]string, error) {
	var names []string
	err := p.get(ctx, "label/__name__/values", &names)
	return names, err
}

func (p *Prometheus) get(ctx context.Context, path string, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("decode the response %s: %w", response.Status, err)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}
