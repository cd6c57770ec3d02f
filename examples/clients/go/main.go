// Publish a batch, wait for its end and print its report: go run . BATCH.json. Needs github.com/rabbitmq/amqp091-go.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type notice struct {
	Batch     string          `json:"batch"`
	State     string          `json:"state"`
	MessageID string          `json:"message_id"`
	Done      int             `json:"done"`
	Total     int             `json:"total"`
	Faults    json.RawMessage `json:"faults"`
}

var ends = map[string]bool{"done": true, "partial": true, "failed": true, "cancelled": true}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	body, err := os.ReadFile(os.Args[1])
	check(err)
	connection, err := amqp.Dial(os.Getenv("MUNIFLOW_AMQP_URL"))
	check(err)
	defer connection.Close()
	channel, err := connection.Channel()
	check(err)
	notices := listen(channel)
	messageID := rand.Text()
	publish(ctx, channel, messageID, body)

	end := wait(ctx, notices, messageID)
	if end.State == "rejected" {
		fmt.Println(string(end.Faults))
	} else {
		fmt.Println(report(ctx, end.Batch))
	}
	if end.State != "done" {
		os.Exit(1)
	}
}

func listen(channel *amqp.Channel) <-chan amqp.Delivery {
	queue, err := channel.QueueDeclare("", false, false, true, false, nil)
	check(err)
	for _, state := range []string{"accepted", "rejected", "done", "partial", "failed", "cancelled"} {
		check(channel.QueueBind(queue.Name, "batch."+state, "muniflow.notify", false, nil))
	}
	notices, err := channel.Consume(queue.Name, "", true, true, false, false, nil)
	check(err)
	return notices
}

func publish(ctx context.Context, channel *amqp.Channel, messageID string, body []byte) {
	check(channel.Confirm(false))
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "muniflow", "muniflow.batches", true, false,
		amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: messageID, Body: body})
	check(err)
	stored, err := confirm.WaitContext(ctx)
	check(err)
	select {
	case <-returns:
		log.Fatal("no queue muniflow.batches: is the coordinator running?")
	default:
		if !stored {
			log.Fatal("the broker refused the message")
		}
	}
}

// wait returns the rejection of our message, or the last notice of our batch.
func wait(ctx context.Context, notices <-chan amqp.Delivery, messageID string) notice {
	batch, found := "", false // known with the answer to our message
	for {
		select {
		case <-ctx.Done():
			log.Fatal("no end within 5 minutes")
		case delivery, open := <-notices:
			if !open {
				log.Fatal("the connection was closed")
			}
			var heard notice
			check(json.Unmarshal(delivery.Body, &heard))
			ours := heard.MessageID == messageID
			if ours {
				batch, found = heard.Batch, true
			}
			if heard.State == "rejected" { // of somebody else's message it says nothing about our batch
				if ours {
					return heard
				}
				continue
			}
			if found && heard.Batch == batch {
				fmt.Fprintf(os.Stderr, "%s: %s, %d of %d images\n", batch, heard.State, heard.Done, heard.Total)
				if ends[heard.State] {
					return heard
				}
			}
		}
	}
}

// report asks the HTTP API; it is also the file <destination>/report.json in the output store.
func report(ctx context.Context, batch string) string {
	api := cmp.Or(os.Getenv("MUNIFLOW_API_URL"), "http://127.0.0.1:8080")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/v1/batches/"+batch+"/report", nil)
	check(err)
	if key := os.Getenv("MUNIFLOW_API_KEY"); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(err)
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("the report: %s: %s", answer.Status, text)
	}
	return string(text)
}
