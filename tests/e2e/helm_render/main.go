// Renders a chart the way Helm does: Go's text/template with sprig and Helm's own functions.
//
//	render CHART < release.json > rendered.json
//
// release.json: {"Release": {...}, "Chart": {...}, "Values": {...}}; rendered.json: rendered text by file name.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/ghodss/yaml"
)

type files string

// Get returns a file of the chart that is no template, or nothing if there is none.
func (root files) Get(name string) string {
	content, err := os.ReadFile(filepath.Join(string(root), name))
	if err != nil {
		return ""
	}
	return string(content)
}

func toYaml(value interface{}) (string, error) {
	text, err := yaml.Marshal(value)
	return strings.TrimSuffix(string(text), "\n"), err
}

func fromJSON(text string) (map[string]interface{}, error) {
	found := map[string]interface{}{}
	err := json.Unmarshal([]byte(text), &found)
	return found, err
}

func required(message string, value interface{}) (interface{}, error) {
	if value == nil || value == "" {
		return value, fmt.Errorf("%s", message)
	}
	return value, nil
}

// lookup finds nothing, as in `helm template`.
func lookup(apiVersion, kind, namespace, name string) map[string]interface{} {
	return map[string]interface{}{}
}

func main() {
	log.SetFlags(0)
	chart := os.Args[1]
	scope := map[string]interface{}{}
	if err := json.NewDecoder(os.Stdin).Decode(&scope); err != nil {
		log.Fatal(err)
	}
	scope["Files"] = files(chart)

	all := template.New("chart").Option("missingkey=zero").Funcs(sprig.TxtFuncMap())
	all.Funcs(template.FuncMap{
		"toYaml": toYaml, "fromJson": fromJSON, "required": required, "lookup": lookup,
		"include": func(name string, data interface{}) (string, error) {
			var text bytes.Buffer
			err := all.ExecuteTemplate(&text, name, data)
			return text.String(), err
		},
	})
	names, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := all.New(filepath.Base(name)).Parse(string(text)); err != nil {
			log.Fatal(err)
		}
	}
	rendered := map[string]string{}
	for _, name := range names {
		if base := filepath.Base(name); !strings.HasPrefix(base, "_") {
			var text bytes.Buffer
			if err := all.ExecuteTemplate(&text, base, scope); err != nil {
				log.Fatal(err)
			}
			rendered[base] = strings.ReplaceAll(text.String(), "<no value>", "")
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(rendered); err != nil {
		log.Fatal(err)
	}
}
